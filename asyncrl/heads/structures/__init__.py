"""Compact layers: matrices of n x n numbers that a few n parameters describe. One family is one file, and its line in `STRUCTURES`.

structure     what a family offers
dense         no structure
toeplitz, hankel, circulant, vandermonde, cauchy, low_displacement   the families
fast          products by FFT, for those that have one
"""

from asyncrl.heads.structures.cauchy import Cauchy
from asyncrl.heads.structures.circulant import Circulant
from asyncrl.heads.structures.hankel import Hankel
from asyncrl.heads.structures.low_displacement import LowDisplacement
from asyncrl.heads.structures.structure import Structure
from asyncrl.heads.structures.toeplitz import Toeplitz
from asyncrl.heads.structures.vandermonde import Vandermonde

STRUCTURES: dict[str, type[Structure]] = {
    family.name: family for family in (Toeplitz, Hankel, Circulant, Vandermonde, Cauchy, LowDisplacement)
}
