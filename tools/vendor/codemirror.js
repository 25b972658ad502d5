// What the pages use of CodeMirror; tools/vendor.py makes one file of it.
export { EditorState, StateEffect, StateField, Compartment } from "@codemirror/state";
export {
  EditorView, drawSelection, dropCursor, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers,
} from "@codemirror/view";
export { defaultKeymap, history, historyKeymap, redo, undo } from "@codemirror/commands";
export {
  bracketMatching, codeFolding, ensureSyntaxTree, foldGutter, foldKeymap, HighlightStyle, indentOnInput,
  syntaxHighlighting, syntaxTree,
} from "@codemirror/language";
export { json, jsonParseLinter } from "@codemirror/lang-json";
export { forceLinting, lintGutter, lintKeymap, linter, setDiagnostics } from "@codemirror/lint";
export { MergeView, unifiedMergeView } from "@codemirror/merge";
export { searchKeymap } from "@codemirror/search";
export { tags } from "@lezer/highlight";
