"""The ablation: what each part of the method buys, scored and compared with intervals."""
