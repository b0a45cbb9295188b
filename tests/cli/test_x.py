import sys

import pytest

from tests.adapters.globus_stub import *
from tests.cli.support import *


def show(title, d):
    sys.__stderr__.write(f'### {title} -> {d.code}\n{d.text}\n')
def go(shell, title, *cmds):
    b=shell.tree()
    for c in cmds or (('plan',),('apply','--yes'),('status',)):
        try:
            d=shell.run(*c)
        except AssertionError as e:
            d=Done(-1,str(e),'')
        show(f'{title}: {" ".join(c)}', d)
        a=shell.tree()
        if a!=b:
            sys.__stderr__.write('CHANGED: '+', '.join(f'{k}:{b.get(k,"-")}->{a.get(k,"-")}'[:200] for k in sorted(set(a)|set(b)) if a.get(k)!=b.get(k))+'\n')
            b=a
CASES={}
def case(f): CASES[f.__name__]=f; return f
@case
def lock_garbage(s): s.registered(); s.lock.write_text('{{{')
@case
def lock_binary(s): s.registered(); s.lock.write_bytes(b'\xff\xfe\x00')
@case
def lock_empty(s): s.registered(); s.lock.write_text('')
@case
def lock_newer(s): s.registered(); s.lock.write_text(s.lock.read_text().replace('version: 1','version: 2'))
@case
def lock_unknown(s): s.registered(); s.lock.write_text(s.lock.read_text()+'extra: 1\n')
@case
def lock_deep(s): s.registered(); s.lock.write_text('['*100000)
@case
def lock_recursive(s): s.registered(); s.lock.write_text('&a [*a]')
@case
def lock_recursive2(s): s.registered(); s.lock.write_text(s.lock.read_text().replace('pools:','pools: &a\n  x: *a\nx:'))
@case
def lock_conflict(s): s.registered(); s.lock.write_text('<<<<<<< HEAD\n'+s.lock.read_text()+'=======\n')
@case
def lock_dir(s): s.write(POOLED); s.lock.mkdir()
@case
def lock_otherstack(s): s.registered(); s.lock.write_text(s.lock.read_text().replace('stack: demo','stack: other'))
@case
def lock_badid(s): s.registered(); s.lock.write_text(s.lock.read_text().replace(ENDPOINT,'hello'))
@case
def lock_dupkeys(s): s.registered(); s.lock.write_text(s.lock.read_text()+'stack: demo\n')
@case
def marker_garbage(s): s.registered(); s.marker.write_text('{{{')
@case
def marker_garbage_nolock(s): s.registered(); s.marker.write_text('{{{'); s.lock.unlink()
@case
def marker_newer(s): s.registered(); s.marker.write_text(s.marker.read_text().replace('"format_version": 1','"format_version": 2').replace('"format_version":1','"format_version":2'))
@case
def marker_binary(s): s.registered(); s.marker.write_bytes(b'\xff\x00')
@case
def marker_dir(s): s.registered(); s.marker.unlink(); s.marker.mkdir()
@case
def journal_garbage(s): s.registered(); s.journal.write_text('hello}\n'+s.journal.read_text())
@case
def journal_garbage_last(s): s.registered(); s.journal.write_text(s.journal.read_text()+'hello}\n')
@case
def journal_binary(s): s.registered(); s.journal.write_bytes(b'\xff\xfe}\n'*3)
@case
def journal_newer(s): s.registered(); s.journal.write_text(s.journal.read_text().replace('"v":1','"v":2'))
@case
def journal_dir(s): s.registered(); s.journal.unlink(); s.journal.mkdir()
@case
def journal_deep(s): s.registered(); s.journal.write_text('['*100000+']\n'+s.journal.read_text())
@case
def ej_garbage(s): s.registered(); (s.config_dir/'main/endpoint.json').write_text('{')
@case
def ej_empty(s): s.registered(); (s.config_dir/'main/endpoint.json').write_text('')
@case
def ej_nouuid(s): s.registered(); (s.config_dir/'main/endpoint.json').write_text('{"endpoint_id": "hello"}')
@case
def ej_other(s): s.registered(); (s.config_dir/'main/endpoint.json').write_text(f'{{"endpoint_id": "{OTHER_ENDPOINT}"}}')
@case
def ej_deep(s): s.registered(); (s.config_dir/'main/endpoint.json').write_text('['*100000)
@case
def marker_deep(s): s.registered(); s.marker.write_text('['*100000)
@case
def config_garbage(s): s.registered(); (s.config_dir/'main/config.yaml').write_text('a: [\n')
@case
def config_binary(s): s.registered(); (s.config_dir/'main/config.yaml').write_bytes(b'\xff\xfe\x00')
@case
def config_deep(s): s.registered(); (s.config_dir/'main/config.yaml').write_text('['*100000)
@case
def config_rec(s): s.registered(); (s.config_dir/'main/config.yaml').write_text('a: &a [*a]\n')
@case
def config_list(s): s.registered(); (s.config_dir/'main/config.yaml').write_text('- 1\n')
@case
def link(s): s.write(POOLED); (s.base/'real').mkdir(); (s.config_dir/'main').symlink_to(s.base/'real')
@case
def filedir(s): s.write(POOLED); (s.config_dir/'main').write_text('x')
@case
def unmanaged(s): s.write(POOLED); (s.config_dir/'main').mkdir(); (s.config_dir/'main/config.yaml').write_text('display_name: x\n')
@case
def emptydir(s): s.write(POOLED); (s.config_dir/'main').mkdir()
@case
def cfgfile(s): s.write(POOLED); s.config_dir.rmdir(); s.config_dir.write_text('x')
@case
def cfgmissing(s): s.write(POOLED); s.config_dir.rmdir()
@case
def pools_binary(s): s.registered(); s.pools.write_bytes(b'\xff\x00')
@case
def pools_garbage(s): s.registered(); s.pools.write_text('{{')
@case
def lease_garbage(s): s.registered(); (s.config_dir/'.chiltepin/lease.json').write_text('{{')
@case
def lease_dir(s): s.registered(); (s.config_dir/'.chiltepin/lease.json').unlink(missing_ok=True); (s.config_dir/'.chiltepin/lease.json').mkdir()
@case
def own_file(s): s.write(POOLED); (s.config_dir/'.chiltepin').write_text('x')
@case
def own_link(s): s.write(POOLED); (s.base/'real').mkdir(); (s.config_dir/'.chiltepin').symlink_to(s.base/'real')
@case
def trash_garbage(s): s.registered(); s.write(HEAD+'endpoints: {}\n')
@pytest.mark.parametrize('name', CASES)
def test_x(shell,name):
    CASES[name](shell); go(shell,name)
