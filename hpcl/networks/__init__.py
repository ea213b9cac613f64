"""The networks: HPCL-Net and those it is compared with, by their settings; saved, loaded, fed and turned."""
