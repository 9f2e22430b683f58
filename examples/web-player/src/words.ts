/** Everything the page says: what is the matter, and what to do about it. */

import { relayUrl } from "./relay-url";

export interface Words {
	title: string;
	text: string;
	/** Something is on its way. */
	busy?: boolean;
}

const { host, hostname, port } = relayUrl;

export const connecting: Words = { title: "Connecting to the relay", text: host, busy: true };

export const insecure: Words = {
	title: "This page needs HTTPS",
	text:
		`Browsers play live media only on https:// pages, or from the relay's own machine. Open https://${host}/. The browser ` +
		`warns of the relay's development certificate before; with certificate-file and private-key-file of a certificate ` +
		`for ${hostname} it does not.`,
};

export const noWebTransport: Words = {
	title: "This browser cannot connect to the relay",
	text: "It has no WebTransport, or one that @moq/watch cannot use. Chrome, Edge and other Chromium browsers have it.",
};

export const noWebCodecs: Words = {
	title: "This browser cannot decode live media",
	text: "It has no WebCodecs (VideoDecoder, AudioDecoder). Current versions of Chrome and Edge have them.",
};

export const relayGone: Words = {
	title: "The relay does not answer",
	text: `Nothing is reachable at ${host}: it was stopped, or the network is down. The page goes on trying.`,
	busy: true,
};

export const notARelay: Words = {
	title: "There is no relay here",
	text: `${host} serves this page, but not /certificate.sha256. Open the page from relay-bridge itself.`,
};

// Browsers take localhost for ::1 and do not try 127.0.0.1 after that.
const loopback =
	hostname === "localhost" ? `The relay may listen on 127.0.0.1 only: open ${relayUrl.protocol}//127.0.0.1:${port}/. Otherwise either ` : "Either ";

export const quicRefused: Words = {
	title: "No WebTransport session comes up",
	text:
		`${host} answers over HTTP. ${loopback}UDP port ${port || "443"} does not get through, or the relay turned this page away ` +
		"(max-sessions, allowed-origins), or its certificate is expired or not one that browsers accept for " +
		"WebTransport. The page goes on trying.",
	busy: true,
};

export const choose: Words = { title: "Nothing to play yet", text: "A broadcast plays here as soon as somebody publishes one." };

export const missing = (name: string): Words => ({
	title: `There is no broadcast “${name}”`,
	text: "Not now, or not for this page. It plays as soon as somebody publishes it.",
});

export const ended = (name: string): Words => ({
	title: `“${name}” has ended`,
	text: "It goes on here if it comes back.",
});

export const loading = (name: string): Words => ({ title: `Loading “${name}”`, text: "", busy: true });

export const silent = (name: string): Words => ({
	title: `Nothing comes from “${name}”`,
	text: "It is announced and its catalog is there, but no picture arrives: the publisher may be paused or cut off.",
	busy: true,
});

export const noCatalog = (name: string): Words => ({
	title: `The catalog of “${name}” cannot be read`,
	text: "It names no tracks that this page understands: the publisher speaks another format, or has just stopped.",
});

export const noTracks = (name: string): Words => ({
	title: `“${name}” has neither picture nor sound`,
	text: "Its catalog lists no tracks at the moment.",
});

export const undecodable = (codecs: string[]): Words => ({
	title: "This browser cannot decode the picture",
	text: `It is sent as ${codecs.join(" and ")}. Another browser may play it, or the publisher may send H.264, VP9 or AV1.`,
});

export const unheard = (codecs: string[]) => `This browser cannot decode the sound (${codecs.join(" and ")}).`;

export const stalled = "The picture stands still: nothing arrives at the moment.";

export const soundOnly: Words = { title: "Sound only", text: "This broadcast has no picture." };
