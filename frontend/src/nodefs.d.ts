// What tests read files with. The rest of node's types would have the page's own code use what no browser has.
declare module "node:fs" {
  export function readdirSync(folder: URL, options?: { readonly recursive: true }): string[];
  export function readFileSync(file: URL): Uint8Array;
}
