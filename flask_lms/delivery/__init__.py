"""Carrying deliveries out: record → **lease → read → post → settle → schedule**.

``sender`` walks; ``lease`` lets only one walk at a time; ``outcome`` and ``breaker`` decide, as
pure functions; ``settle`` writes it down; ``schedule`` finds what is due; ``retention`` forgets
what is done.
"""
