"""Environments on whose landscapes of action values gradient ascent gets stuck: those of seed 002 (SAVO), ids `asyncrl/...`.

    spheres, restricted    a Box of which only spheres are valid actions: the wrapper `RestrictedAction`
    restricted_mujoco      MuJoCo's tasks with restricted actions
    mining, mining_tools   Mining Expedition: 54 or 104 actions, of which most do nothing most of the time
    recsim, items          RecSim: recommending one of 10,000 to 500,000 items to a user whose interests move
    recsim_data            RecSim-Data: films for users who click as MovieLens' do; movielens reads their log, made_up_log makes one up,
                           click_model learns from it

`asyncrl/registration.py` has the ids. An environment with many discrete actions has `action_features`, float32 [actions, F] and
read-only, for heads that choose among actions by what they have in common.
"""
