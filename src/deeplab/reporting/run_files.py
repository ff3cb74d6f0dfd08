def code_version(): return None
def write_json(p,d):
    import json; p.write_text(json.dumps(d,default=str))
def metrics_document(files, names, config, split, num_crf_skipped):
    from deeplab.metrics.scores import scores
    return {"miou": scores(sum(files.confusion.values()))["miou"], "crf": scores(sum(files.confusion_crf.values()))["miou"]}
def write_per_picture(*a): pass
