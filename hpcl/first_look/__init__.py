"""An area's first minute: what raw files say of themselves, and what parameters suit them; no pixel is computed.

`ground.look` reads headers and outlines, `proposals` compares them with the parameters, `words` says both. Nothing here knows
params.yaml: `stages.inspect` hands its values over and writes them back.
"""
