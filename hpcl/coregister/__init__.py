"""Co-registration: where a DEM's ground lies beside a reference's or an image's; estimated, judged, undone."""
