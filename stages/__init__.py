"""One thin script per DVC stage: read declared inputs, call `hpcl`, write declared outputs."""
