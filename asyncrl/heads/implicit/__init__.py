"""Implicit policies: an action is the one of a set that has the best score.

    selection    the fast ways to find it among many
"""
