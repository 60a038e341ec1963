"""The fast ways to pick an action among N by the dot products of their latents with the state's.

    selection    the contract: an index with a declared layout, filled once, read by every process
    blocks       latents 64 side by side, which every selection scans
    brute        all scores: exact argmax, exact softmax
    coded        all scores from 8 bits, and those exactly that may be the best: exact argmax
    projections, probing            buckets by signs of random projections
    principal_tree, cutting, cells  cells along principal axes: argmax, and draws by moments
    feature_tree, feature_draws     random features in a sum tree: draws
    heaps        the lowest of pairs, for both indices
    controls     random and longest actions, and draws in random blocks, which an approximate selection must be better than
    refinement   samples that are drawn anew, perturbed and clipped, for energies without an index
"""

from asyncrl.heads.implicit.selection.brute import Brute
from asyncrl.heads.implicit.selection.coded import Coded
from asyncrl.heads.implicit.selection.controls import RandomBlock, RandomSubset, TopNormSubset
from asyncrl.heads.implicit.selection.feature_tree import FeatureTree
from asyncrl.heads.implicit.selection.principal_tree import PrincipalTree
from asyncrl.heads.implicit.selection.projections import Projections
from asyncrl.heads.implicit.selection.selection import Selection

SELECTIONS: dict[str, type[Selection]] = {kind.name: kind for kind in (Brute, Coded, Projections, PrincipalTree, FeatureTree)}
"""The ways to select an action."""
CONTROLS: dict[str, type[Selection]] = {kind.name: kind for kind in (RandomSubset, TopNormSubset)}
"""What approximate choices are held against."""
DRAWING_CONTROLS: dict[str, type[Selection]] = {RandomBlock.name: RandomBlock}
"""What approximate draws are held against."""
