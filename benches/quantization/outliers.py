def rows(bench):
    pass
outlier_layer = rows
