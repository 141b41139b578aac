"""The `openvla` family: DINOv2 and SigLIP patches in front of Llama, actions as tokens."""
