"""Experience replay: n-step transitions in one flat array, sampled uniformly or by priority.

records   the fields and bytes of a transition, and a sampled batch
windows   turns streams of steps into n-step transitions
store     the replay buffer
sizes     its size in bytes, computed and checked before it is allocated
"""
