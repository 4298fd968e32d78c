"""What notebooks ask of trained models: what several papers ask, and one module per paper."""
