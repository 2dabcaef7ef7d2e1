"""What is added to frozen layers, and at first changes nothing: low-rank branches, adapters, experts, modulation."""
