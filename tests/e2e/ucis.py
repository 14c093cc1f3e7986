"""The rules of UCIS 1.0's XML as far as we write it: which element may stand where and how often, which attributes it must and may have,
and of what type. Used by verify.py; a file that breaks one of them is refused by the tools that read UCIS. Where PyUCIS is installed
its own reader is asked as well."""
import re, xml.etree.ElementTree as ET

STR, NAT, POS, INT, BOOL, DBL, TIME = (r'.*', r'\d+', r'0*[1-9]\d*', r'-?\d+', r'true|false|0|1', r'-?\d+(\.\d+)?', r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d')
BIN_TYPES = r'bins|ignore|illegal|default'
WEIGHTS = {'weight': NAT, 'goal': NAT, 'comment': STR, 'at_least': NAT, 'detect_overlap': BOOL, 'auto_bin_max': NAT}
WHERE = {'file': POS, 'line': POS, 'inlineCount': POS}
# element: attributes that must be there, attributes that may be, children in their order with the least and the most of each (None: any)
RULES = {
    'UCIS': ({'ucisVersion': STR, 'writtenBy': STR, 'writtenTime': TIME}, {},
             [('sourceFiles', 1, None), ('historyNodes', 1, None), ('instanceCoverages', 1, None)]),
    'sourceFiles': ({'fileName': STR, 'id': POS}, {}, []),
    'historyNodes': ({'historyNodeId': NAT, 'logicalName': STR, 'testStatus': BOOL, 'date': TIME, 'toolCategory': STR, 'ucisVersion': STR, 'vendorId': STR,
                      'vendorTool': STR, 'vendorToolVersion': STR},
                     {'parentId': NAT, 'physicalName': STR, 'kind': STR, 'simtime': DBL, 'timeunit': STR, 'cpuTime': DBL, 'seed': STR, 'cmd': STR,
                      'args': STR, 'userName': STR, 'comment': STR}, [('userAttr', 0, None)]),
    'instanceCoverages': ({'name': STR, 'key': STR}, {'instanceId': INT, 'alias': STR, 'moduleName': STR, 'parentInstanceId': INT},
                          [('id', 1, 1), ('covergroupCoverage', 0, None), ('userAttr', 0, None)]),
    'id': (WHERE, {}, []), 'cginstSourceId': (WHERE, {}, []), 'cgSourceId': (WHERE, {}, []),
    'covergroupCoverage': ({}, {'metricMode': STR, 'weight': NAT}, [('cgInstance', 0, None), ('userAttr', 0, None)]),
    'cgInstance': ({'name': STR, 'key': STR}, {'alias': STR, 'excluded': BOOL, 'excludedReason': STR},
                   [('options', 1, 1), ('cgId', 1, 1), ('coverpoint', 1, None), ('userAttr', 0, None)]),
    'cgId': ({'cgName': STR, 'moduleName': STR}, {}, [('cginstSourceId', 1, 1), ('cgSourceId', 1, 1)]),
    'options': ({}, dict(WEIGHTS, per_instance=BOOL, merge_instances=BOOL, cross_num_print_missing=NAT), []),
    'coverpoint': ({'name': STR, 'key': STR}, {'alias': STR, 'exprString': STR},
                   [('options', 1, 1), ('coverpointBin', 1, None), ('userAttr', 0, None)]),
    'coverpointBin': ({'name': STR, 'key': STR, 'type': BIN_TYPES}, {'alias': STR}, [('range', 1, None), ('userAttr', 0, None)]),
    'range': ({'from': INT, 'to': INT}, {}, [('contents', 1, 1)]),
    'contents': ({'coverageCount': NAT}, {'nameComponent': STR, 'typeComponent': STR}, []),
    'userAttr': ({'key': STR, 'type': r'int|float|double|str|bits|int64'}, {'len': INT}, []),
}


def wrong(e, path=''):
    """What is wrong with an element and all below it, as sentences."""
    path += '/' + e.tag
    if e.tag not in RULES:
        return ['%s is no element' % path]
    must, may, children = RULES[e.tag]
    bad = ['%s has no %s' % (path, a) for a in must if a not in e.attrib]
    for a, v in e.attrib.items():
        form = must.get(a, may.get(a))
        if form is None:
            bad.append('%s may not have %s' % (path, a))
        elif not re.fullmatch(form, v):
            bad.append('%s: %s="%s"' % (path, a, v))
    tags, at = [c.tag for c in e], 0
    for name, least, most in children:
        n = 0
        while at < len(tags) and tags[at] == name:
            n, at = n + 1, at + 1
        if n < least or (most is not None and n > most):
            bad.append('%s has %d %s' % (path, n, name))
    if at < len(tags):
        bad.append('%s: %s does not belong there' % (path, tags[at]))
    if e.tag != 'userAttr' and (e.text or '').strip():
        bad.append('%s has text' % path)
    return bad + [b for c in e for b in wrong(c, path)]


def read(path):
    """The bins: {(group, coverpoint, bin): (count, type)}; AssertionError with what is wrong."""
    root = ET.parse(path).getroot()
    bad = wrong(root)
    assert not bad, bad[:10]
    bins = {}
    for g in root.iter('cgInstance'):
        for p in g.iter('coverpoint'):
            for b in p.iter('coverpointBin'):
                key = (g.get('name'), p.get('name'), b.get('name'))
                assert key not in bins, '%s stands there twice' % (key,)
                bins[key] = (sum(int(c.get('coverageCount')) for c in b.iter('contents')), b.get('type'))
    return bins


def read_by_pyucis(path):
    """Number of covergroups PyUCIS finds; None where it is not installed."""
    try:
        from ucis.xml.xml_reader import XmlReader
        from ucis.report.coverage_report_builder import CoverageReportBuilder
    except ImportError:
        return None
    with open(path) as f:
        return len(CoverageReportBuilder.build(XmlReader().read(f)).covergroups)
