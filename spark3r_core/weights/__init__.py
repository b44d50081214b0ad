"""The bundled network: weights as safetensors (fp16), and a json with their sha256, sizes and training."""
