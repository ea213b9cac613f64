"""The same work done by other libraries, each in its own process and theirs in an environment of their own."""
