"""Pictures of what a policy prefers: the energy of actions at states along an episode (`asyncrl landscape RUN`).

    landscape    a run's checkpoint -> a picture in its folder
    states       an episode is played, and at some of its steps is looked at what the head computes
    drawing      what was seen, drawn by matplotlib
"""
