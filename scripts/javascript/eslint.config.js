// How ESLint checks the modules of cnnctl/explore/page: its recommended rules and a few more.
import js from "@eslint/js";

const BROWSER = `
  AbortController Blob ClipboardEvent CSS CustomEvent DataTransfer DecompressionStream DragEvent Event File HTMLElement Image ImageData
  IntersectionObserver KeyboardEvent MouseEvent MutationObserver Node OffscreenCanvas Path2D PointerEvent ResizeObserver
  atob btoa cancelAnimationFrame clearInterval clearTimeout console createImageBitmap crypto document getComputedStyle innerHeight innerWidth
  localStorage location matchMedia navigator performance queueMicrotask requestAnimationFrame requestIdleCallback setInterval setTimeout
  structuredClone window
`;

export default [
  js.configs.recommended,
  {
    files: ["**/*.js"],
    languageOptions: {
      ecmaVersion: 2024,
      sourceType: "module",
      globals: Object.fromEntries(
        BROWSER.trim()
          .split(/\s+/)
          .map((name) => [name, "readonly"]),
      ),
    },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "arrow-body-style": "error",
      eqeqeq: "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-restricted-properties": [
        "error",
        ...[
          { property: "innerHTML" },
          { property: "outerHTML" },
          { property: "insertAdjacentHTML" },
          { object: "document", property: "write" },
        ].map((restricted) => ({
          ...restricted,
          message: "Texts of configs and files go into the page by textContent alone.",
        })),
      ],
      "no-shadow": "error",
      "no-unused-vars": ["error", { argsIgnorePattern: "^_", caughtErrors: "none" }],
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
      "prefer-template": "error",
    },
  },
];
