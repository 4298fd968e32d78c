"""Datasets on disk: one loader per dataset, and what loaders share."""
