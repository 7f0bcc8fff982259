from collections import Counter
from tests.integration.test_openapi import *
def test_y(served):
    schema = schemathesis.openapi.from_url(f"{served}/openapi.json", config=CONFIG)
    c=Counter(); st=Counter(); ch=Counter(); ph=[]
    import time; t0=time.time()
    for e in from_schema(schema).execute():
        n=type(e).__name__
        if n in("PhaseStarted","PhaseFinished"): ph.append((n,e.phase.name.value, getattr(e,'status',None), round(time.time()-t0)))
        if n=="ScenarioFinished" or n=="FuzzScenarioFinished":
            r=e.recorder
            for k,i in r.interactions.items():
                if i.response is not None: st[(e.phase.value if hasattr(e,'phase') else 'fuzz', r.label, i.response.status_code)]+=1
            for k,l in r.checks.items():
                for x in l: ch[(x.name,str(x.status))]+=1
        if n=="NonFatalError": print("ERR", e.info, e.label)
        last=e
    print(ph); print(ch); 
    for k,v in sorted(st.items()): print(k,v)
    print(last.stop_reason, last.failures)
