"""Pictures of what a policy prefers at states along an episode (`asyncrl landscape RUN`): energies of actions, or their values.

    landscape      a run's checkpoint -> a picture in its folder
    evaluated      pictures with a run's evaluations, videos among them (`--pictures`)
    composing      what is seen along an episode -> one picture
    looking        the checkpoint is opened, an episode is played, and at some of its steps somebody looks
    cuts           which actions are looked at: one or two components vary
    states         what a head computes there: energies
    values         what the critics of a learner say there, and what its actors propose
    items          the same of items, the choices of a Discrete space with features
    optima         local optima on a grid, counted
    gaps           figures for studies: the chosen action's value beside the first actor's and the largest of a grid
    picture        what all pictures have in common
    drawing        energies, drawn
    value_lines, value_maps, value_marks    values, drawn: of one component, of two, and what both have in common
    item_maps      values of items, drawn
    telling        what a picture shows, in words
"""
