// What Django wants to see with every change. Each login makes a new one, perhaps in another tab: so it is looked up
// when it is sent, and never kept.

export function csrfToken() {
  const cookies = new Map(document.cookie.split("; ").map((pair) => pair.split("=")));
  return cookies.get("csrftoken") ?? "";
}
