"""To be imported by the fork server, once for all processes: what each of them would load at its first compiled call.

The first call of any compiled function makes Numba import half of itself (and scipy.linalg), which takes longer than all the
rest of a worker's start. Whoever is forked after one call has that already.
"""

from __future__ import annotations

import numpy as np

from asyncrl.shared.optimizers import norm

norm(np.zeros(1, np.float32))
