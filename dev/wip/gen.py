import json,os,glob
O='/tmp/accuracy/out/'
def load(n):
    try: return json.loads(open(O+n).read().strip().splitlines()[-1])
    except Exception as e: print('missing',n,e); return None
pc=lambda v,d=2:f'{100*v:.{d}f}'
out=[]
w=out.append
v1=load('v1.json')
if v1:
    w('| embedder | precision | dims | accuracy (10 folds, +- standard error) | TAR at FAR 1e-2 (95 %) | EER | ms a photo |\n|---|---|---|---|---|---|---|')
    for r in v1['rows']:
        p=[x for x in r['operating_points'] if x['far']==0.01][0]
        ms=r.get('photo_ms')
        w(f"| {r['embedder']} | {r['precision']} | {r['dims']} | {pc(r['accuracy'])} +- {pc(r['accuracy_standard_error'])} | {pc(p['tar'])} ({pc(p['interval'][0])} to {pc(p['interval'][1])}) | {pc(r['eer'])} | {ms and round(ms,1)} |")
    w('undetected: '+str([r['undetected'] for r in v1['rows']]))
m=load('v1-mtcnn.json')
if m:
    r=m['rows'][0]; w(f"mtcnn: {pc(r['accuracy'])} +- {pc(r['accuracy_standard_error'])} tar {r['tar_at_far']} undet {r['undetected']} ms {r.get('photo_ms')}")
for e in ['sface','mobilefacenet-192','sface-2021dec+mobilefacenet-192','dlib-resnet-v1']:
    c=load(f'cal-{e}.json')
    if c:
        w(f"\n### {e} comparisons {c['comparisons']} photos {c['photos']} people {c['people']} held {c['held_out']} undet {c['undetected']}")
        for p in c['table']: w(f"| {p['fmr']:.0e} | {p['similarity']:.4f} | {p['interval'][0]:.4f} to {p['interval'][1]:.4f} | {p.get('extrapolated',False)} |")
        for k in c['check']: w(f"| {k['gallery']} | {k['max_fpir']} | {k['threshold']:.3f} | {pc(k['fpir'])} | {k['searches']} | {k['calibrated']} |")
for n in ['id.json','id-exact.json','id-fusion.json']:
    d=load(n)
    if d:
        w('\n'+n+' undetected '+str(d['undetected']))
        for r in d['runs']:
            w(f"| {r['through']} | {r['gallery']} | {r['mated']} | {r['strangers']} | {pc(r['rank1'])} | {pc(r['rank5'])} | {pc(r['rank10'])} | {pc(r['fnir_at_fpir']['0.1'])} | {pc(r['fnir_at_fpir']['0.01'])} | {pc(r['fnir_at_fpir']['0.001'])} | {r['search_ms']:.1f} | {r.get('calibrated')} |")
q=load('quality.json')
if q:
    w(f"\nquality pairs {q['pairs']} fnmr {q['fnmr']} thr {q['threshold']} discards {q['discards']}")
    for k,v in q['measures'].items(): w(f"| {k} | "+' | '.join(pc(x) for x in v)+' |')
print('\n'.join(out))
