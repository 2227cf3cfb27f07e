"""Photographs and nets with ImageNet weights: insertion minus deletion beside Captum's methods."""
