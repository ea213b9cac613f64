"""What networks have learnt of landslides, as vectors: one for each, which of them are alike, and what a linear probe reads in them."""
