"""Experience that is used more than once: n-step transitions in one flat store, drawn uniformly or by priority.

records   what a transition is: fields, bytes, the batch that is drawn
windows   streams of steps to n-step transitions
store     the replay itself
sizes     its bytes, computed and checked up front
"""
