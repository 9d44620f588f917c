"""A distributed hyperparameter tuner for LoRA fine-tuning of Sa2VA on blood-vessel segmentation."""
