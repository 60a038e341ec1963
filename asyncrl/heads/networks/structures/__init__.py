"""Compact layers: matrices of n x n numbers that a few n parameters describe. One family is one file, and its line in `STRUCTURES`.

structure     what a family offers
dense         no structure
toeplitz, hankel, circulant, vandermonde, cauchy, low_displacement   the families
fast          products by FFT, for those that have one
"""

from asyncrl.heads.networks.structures.cauchy import Cauchy
from asyncrl.heads.networks.structures.circulant import Circulant
from asyncrl.heads.networks.structures.hankel import Hankel
from asyncrl.heads.networks.structures.low_displacement import LowDisplacement
from asyncrl.heads.networks.structures.structure import Structure
from asyncrl.heads.networks.structures.toeplitz import Toeplitz
from asyncrl.heads.networks.structures.vandermonde import Vandermonde

STRUCTURES: dict[str, type[Structure]] = {
    family.name: family for family in (Toeplitz, Hankel, Circulant, Vandermonde, Cauchy, LowDisplacement)
}
