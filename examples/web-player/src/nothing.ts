/** Stands for packages that the page does without; see `vite.config.js`. */
export function load(): never {
	throw new Error("not in this build");
}
