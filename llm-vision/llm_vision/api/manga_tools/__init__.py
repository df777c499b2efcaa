"""The wire formats of manga tools: owocr, ImageTrans, Mangatan."""
