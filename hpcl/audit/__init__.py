"""What map and inventory say of each other: what is probably missing, wrong or badly drawn, and where to map next.

Maps of labelled ground are out-of-fold: no network saw the labels that it is held against here.
"""
