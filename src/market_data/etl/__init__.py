"""Extract, transform, load: vendors' answers and files become valid bars and readable rejections."""
