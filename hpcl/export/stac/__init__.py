"""A static STAC catalogue of an export: one item for the model (extension MLM) and one for the map of each area.

Everything is linked relatively, so the folder can be moved or put on a server as it is. Names of areas stand in the links as they
are, with blanks too: pystac does not decode local links, and browsers encode them by themselves.
"""
