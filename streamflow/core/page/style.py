"""The style sheet of a report's page: light or dark as the reader's system is, and fit to be printed."""

STYLE = """\
:root { color-scheme: light dark; --ink: #1b1f24; --faint: #59636e; --paper: #ffffff; --panel: #f6f8fa;
  --edge: #d1d9e0; --good: #1a7f37; --warn: #9a6700; --bad: #cf222e; --blue: #0969da; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --faint: #9198a1; --paper: #0d1117; --panel: #161b22;
  --edge: #3d444d; --good: #3fb950; --warn: #d29922; --bad: #f85149; --blue: #4493f8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1280px; padding: 24px; color: var(--ink); background: var(--paper);
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 32px 0 8px; }
h3 { font-size: 15px; margin: 16px 0 4px; } p { margin: 4px 0; }
.faint, small { color: var(--faint); } .good { color: var(--good); } .warn { color: var(--warn); }
.bad { color: var(--bad); } b.good, b.bad, b.warn { font-weight: 600; }
code, td, .mono { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 12.5px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; } th, td { padding: 3px 10px 3px 0; text-align: right; white-space: nowrap;
  vertical-align: top; border-bottom: 1px solid var(--edge); }
th { font-weight: 600; color: var(--faint); font-size: 12.5px; } th.text, td.text { text-align: left; }
td.wide { white-space: normal; min-width: 150px; overflow-wrap: anywhere; }
section.path { border: 1px solid var(--edge); border-radius: 8px; padding: 4px 16px 16px; margin: 16px 0; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); gap: 12px; }
figure { margin: 0; background: var(--panel); border-radius: 6px; padding: 8px; }
figcaption { font-weight: 600; font-size: 13px; }
svg.plot { width: 100%; height: auto; display: block; }
svg.plot text { font: 12px system-ui, sans-serif; fill: var(--faint); } svg.plot .axis { font-style: italic; }
svg.plot .grid { stroke: var(--edge); stroke-width: 1; }
svg.plot .bound { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 5 3; }
svg.plot .bound-name { fill: var(--bad); font-weight: 600; } svg.plot .name { fill: var(--ink); font-weight: 600; }
svg.plot rect.good, svg.plot .on-time { fill: var(--blue); } svg.plot rect.bad, svg.plot .missed { fill: var(--bad); }
svg.plot .given-up { fill: var(--warn); } svg.plot .line { fill: none; stroke-width: 1.6; stroke-linecap: round; }
svg.plot .line.p50 { stroke: var(--good); } svg.plot .line.p99 { stroke: var(--blue); }
svg.plot .line.max { stroke: var(--faint); stroke-dasharray: 2 3; }
svg.plot .restart { fill: none; stroke: var(--ink); stroke-width: 1; stroke-dasharray: 3 2; }
svg.plot .broken { fill: var(--bad); }
.legend { display: flex; flex-wrap: wrap; gap: 0 12px; color: var(--faint); font-size: 12px; }
.legend span { white-space: nowrap; } .legend i { display: inline-block; width: 10px; height: 10px; margin-right: 4px;
  border-radius: 2px; }
i.restart { width: 0; border-left: 2px dashed var(--ink); border-radius: 0; } i.broken { height: 4px; }
i.broken { background: var(--bad); margin-bottom: 3px; }
.legend i.dropping { background: #b4540a; height: 3px; width: 24px; margin-bottom: 3px; }
i.on-time, .bars i { background: var(--blue); } i.missed, .bars i.missed { background: var(--bad); }
i.p50 { background: var(--good); } i.p99 { background: var(--blue); } i.max { background: var(--faint); }
i.given-up, .bars i.dropped { background: var(--warn); }
.bar { display: grid; grid-template-columns: minmax(110px, 2fr) 3fr 70px; gap: 8px; align-items: center; }
.bar .track, .against { background: var(--edge); border-radius: 3px; height: 10px; display: block; position: relative;
  overflow: hidden; } .bar i, .against i { display: block; height: 100%; }
.bar b { text-align: right; font-weight: 500; } .against { width: 72px; display: inline-block; margin-left: 6px; }
.against i.good { background: var(--good); } .against i.bad { background: var(--bad); }
.against u { position: absolute; left: 75%; top: 0; bottom: 0; width: 2px; background: var(--ink); }
details { margin: 8px 0; } summary { cursor: pointer; font-weight: 600; }
.graph { max-width: 100%; height: auto; border: 1px solid var(--edge); border-radius: 6px; background: #ffffff; }
pre { background: var(--panel); padding: 8px; overflow-x: auto; border-radius: 6px; font-size: 12px; }
@media print { body { max-width: none; padding: 0; } section.path, figure { break-inside: avoid; } }
"""
