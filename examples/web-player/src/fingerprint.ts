import { relayUrl } from "./relay-url";
import * as words from "./words";
import type { Words } from "./words";

const FINGERPRINT = new URL("/certificate.sha256", relayUrl);

/** The fingerprint of the relay's certificate in hex, or why there is none. */
export async function fingerprint(): Promise<{ hex: string } | { problem: Words }> {
	let response: Response;
	try {
		response = await fetch(FINGERPRINT, { cache: "no-store", signal: AbortSignal.timeout(3000) });
	} catch {
		return { problem: words.relayGone };
	}
	const hex = response.ok ? (await response.text().catch(() => "")).trim() : "";
	return /^[0-9a-f]{64}$/.test(hex) ? { hex } : { problem: words.notARelay };
}
