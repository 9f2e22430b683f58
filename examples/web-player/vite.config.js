import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { defineConfig, loadEnv } from "vite";

// What may be in the page that is handed out.
const LICENCES = /^\(?(0BSD|Apache-2\.0|BSD-[23]-Clause|ISC|MIT|MPL-2\.0|Zlib)( (AND|OR) (0BSD|Apache-2\.0|BSD-[23]-Clause|ISC|MIT|MPL-2\.0|Zlib))*\)?$/;

/** The folder of the package that a module belongs to. */
function packageOf(file) {
	for (let folder = dirname(file); folder !== dirname(folder); folder = dirname(folder)) {
		const path = join(folder, "package.json");
		if (existsSync(path) && JSON.parse(readFileSync(path, "utf8")).version) return folder;
	}
	throw new Error(`${file} is in no package`);
}

/** Writes `licences.txt` beside the page and refuses packages that may not be handed out with it. */
function licences() {
	return {
		name: "licences",
		apply: "build",
		generateBundle(_, bundle) {
			const folders = new Set();
			for (const chunk of Object.values(bundle)) {
				for (const id of chunk.type === "chunk" ? chunk.moduleIds : []) {
					const file = id.replace(/^\0/, "").replace(/\?.*$/, "");
					if (file.includes("/node_modules/")) folders.add(packageOf(file));
				}
			}
			const texts = [...folders].map((folder) => {
				const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
				if (!LICENCES.test(license)) this.error(`${name} ${version} has the licence ${license}`);
				const files = readdirSync(folder).filter((file) => /^(licen[cs]e|notice|copying)/i.test(file));
				const bodies = files.map((file) => `\n${readFileSync(join(folder, file), "utf8").trim()}\n`);
				return `${name} ${version}: ${license}\n${bodies.join("")}`;
			});
			this.emitFile({ type: "asset", fileName: "licences.txt", source: texts.sort().join(`\n${"-".repeat(78)}\n`) });
		},
	};
}

/** Each page carries its own Content-Security-Policy, so that it holds on every server. */
function policy(relay) {
	const directives = {
		"default-src": "'none'",
		// @moq/watch and @moq/publish load their AudioWorklets from blobs.
		"script-src": "'self' blob:",
		"style-src": "'self'",
		"img-src": "'self'",
		"connect-src": relay ? `'self' ${relay} ${relay.replace(/^http:/, "https:")}` : "'self'",
		"base-uri": "'none'",
		"form-action": "'none'",
	};
	const content = Object.entries(directives).map(([name, value]) => `${name} ${value}`).join("; ");
	return {
		name: "policy",
		apply: "build",
		transformIndexHtml: () => [
			{ tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content }, injectTo: "head-prepend" },
		],
	};
}

export default defineConfig(({ mode }) => {
	const relay = loadEnv(mode, process.cwd(), "VITE_").VITE_RELAY?.replace(/\/+$/, "");
	return {
		// Works below any path.
		base: "./",
		plugins: [licences(), policy(relay)],
		resolve: {
			alias: {
				// Opus for browsers without AudioDecoder and AudioEncoder. The pages refuse those, and the code is under LGPL.
				"@libav.js/variant-opus-af": "/src/nothing.ts",
				"@kixelated/libavjs-webcodecs-polyfill": "/src/nothing.ts",
			},
		},
		build: {
			target: "es2022",
			assetsInlineLimit: 0,
			modulePreload: { polyfill: false },
			rollupOptions: { input: ["index.html", "publish.html"] },
		},
	};
});
