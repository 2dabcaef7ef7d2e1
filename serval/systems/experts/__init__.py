"""Systems whose encoders and adapters are experts, mixed or chosen for each question."""
