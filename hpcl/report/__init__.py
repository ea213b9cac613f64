"""The report: figures and one self-contained page of what all stages wrote. No torch."""
