"""The Perspective API's wire format over our scorers."""
