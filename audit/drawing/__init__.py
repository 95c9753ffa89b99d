"""Pictures as inline SVG or small PNG, and numbers as text: for pages and notebooks alike."""
