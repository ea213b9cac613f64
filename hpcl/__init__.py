"""HPCL-Net: landslide mapping from optical imagery and a DEM. The library knows nothing of the pipeline that runs it."""
