/** The relay that serves this page, unless the page was built for another one (`VITE_RELAY`). */
export const relayUrl = new URL(import.meta.env.VITE_RELAY ?? "/", location.origin);
