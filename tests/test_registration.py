"""The ids of our environments: there after `import asyncrl`, in whatever order gymnasium is imported; mistyped, the nearest is named."""

from __future__ import annotations

import subprocess
import sys

import gymnasium
import pytest

from asyncrl.envs import make_env
from asyncrl.errors import UserError
from asyncrl.registration import OURS

MAKE = "print(gymnasium.make('asyncrl/MiningExpedition-v0').spec.max_episode_steps)"


def told(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100).stdout


@pytest.mark.parametrize("before", ["import asyncrl, gymnasium", "import gymnasium, asyncrl", "import gymnasium; import asyncrl.envs"])
def test_ids_are_there_in_either_order(before):
    assert told(f"{before}; {MAKE}") == "100\n"


def test_a_module_in_front_will_do():
    assert told(f"import gymnasium; {MAKE.replace('asyncrl/', 'asyncrl:asyncrl/')}") == "100\n"


def test_the_import_stays_light():
    code = "import sys, asyncrl; print(sorted({'gymnasium', 'numpy', 'torch', 'asyncrl.envs'} & set(sys.modules)))"
    assert told(code) == "[]\n"


def test_the_hook_is_gone_once_it_has_done_its_work():
    code = "import sys, asyncrl, gymnasium; print([one for one in sys.meta_path if 'asyncrl' in type(one).__module__])"
    assert told(code) == "[]\n"


def test_registering_leaves_what_is_there():
    """Somebody's own version of an id is not overwritten when a process registers again."""
    code = (
        "import gymnasium; gymnasium.register('asyncrl/RecSim-v0', 'somewhere:Else'); import asyncrl\n"
        "print(gymnasium.spec('asyncrl/RecSim-v0').entry_point, gymnasium.spec('asyncrl/RecSim100k-v0').kwargs)"
    )
    assert told(code) == "somewhere:Else {'n_items': 100000}\n"


def test_every_id_has_another_name():
    assert len({one.name for one in OURS}) == len(OURS)
    assert all(f"asyncrl/{one.name}-v0" in gymnasium.registry for one in OURS)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("asyncrl/RestrictedHoper-v0", r"did you mean 'asyncrl/RestrictedHopper-v0'\? \(allowed: asyncrl/MiningExpedition-v0,"),
        ("asyncrl/Minning-v0", "did you mean 'asyncrl/MiningExpedition-v0'"),
        ("asyncrl/RecSim-v3", "did you mean 'asyncrl/RecSim-v0'"),
        ("RestrictedHopper-v0", "did you mean 'asyncrl/RestrictedHopper-v0'"),
        ("asyncr/RecSim-v0", "nothing is registered under 'asyncr'; did you mean 'asyncrl'"),
    ],
)
def test_a_mistyped_id(name, nearest):
    with pytest.raises(UserError, match=nearest) as caught:
        make_env(name)
    assert "\n" not in str(caught.value)
