"""Landing: merge in memory, gate, compare-and-swap, verify; what the person's checkout and remote need afterwards."""
